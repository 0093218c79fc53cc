//! Traditional Han to simplified, one character to one: so that 退貨 finds 退货.
//!
//! The pairs are the traditional characters that everyday and shop Chinese uses most; what is missing stays as it was
//! and still matches itself. No crate of this is both small and kept up (they carry bincode or a GPL word list).

use std::sync::LazyLock;

const TRADITIONAL: &str = "萬與專業東絲兩嚴喪個豐臨為麗舉麼義烏樂喬習鄉書買亂爭於虧雲亞產畝親褻億僅從倉儀們價眾優會傘偉傳傷倫偽佇體傭儉債傾償儲兒黨蘭關興養獸內岡冊寫軍農馮沖決況凍淨準涼減湊幾鳳憑凱擊鑿劃劉則剛創刪別劑劍劇勸辦務動勵勁勞勢勝勻區醫華協單賣盧衛卻廠廳歷厲壓厭廁廂縣參雙發變敘疊葉號嘆聽啟吳員嗎嘩響唄噸唸問喚嘗囉噴團園圍國圖圓聖場壞塊堅壇壩墳墜壟墊墮牆壯聲殼壺處備夠頭夾奪奮獎奧妝婦媽嫵孫學寧實寵審憲宮寬賓寢對尋導壽將爾塵嘗屍盡層屆屬歲豈崗島嶺嶽帥師帳簾幟帶幀幫幣幹庫應廟廢廣開異棄張彌彎彈強歸當錄徹徑後懷態慫憐總恆懇惡惱悅懸憫驚懼慘慚慣憂慮懶戰戲戶撲託執擴掃揚擾撫拋摳搶護報擔擬攏揀擁攔擰撥擇掛擠揮損換據撐擺搖攜攤撓攝敵斂數齋鬥斬斷無舊時曠曆晉曬曉暈暫術機殺雜權條來楊榮標棧棟樹樣檔橋槍橫櫃檢樓歐歡殘毀氣漢湯溝沒滬淚潔灑測濟瀏濃濤渦潤漲滯滲漁濕溫遊灣滿濾濫灘災為爐煉爛煙煩燒熱愛爺牘牽犧狀猶獄狹獨獅獎貓獻環現瑪瓊電畫暢療瘋癥皺盞鹽監蓋盤眾著睏礎硯碼磚確礙禮禍禪離種積稱穩窮竊競筆築簽簡節範籃籠類糧緊糾紀約紅紋納純紙級紛細組終經結給絕絡統絲綁綠維網緩編緣線練縮總績織繞繪續纖罰罷羅職聯聰肅腸膚腫腦膠臉臟舊艙藝蘇蘋節莊獲營葉藍藥蟲雖蝦補裝襯複製見規視覽覺觀觸計訂討訊訓記許設訪證評識訴詢試詩話該詳誠誤語說請諸諾讀課誰調談謀謝謊識譯議護讓豬負財責貨質販貪貧購貴貸費貼賀資賊賓賞賠賢賜賣質賬賴賺贈贊贏趕趙躍車軌軟轉輕載輔輛輸輪邊達遷過運還這進遠違連遲適選遺郵鄭醬釋裡釐針釘釣鈔鈕鈴鉛銀銅鋁銘銷鎖鋪鍋錯錢鍵鏈鏡鐘鐵鑽長門閃閉間閒聞閱闆陽陰陣階際陸陳險隨隱難雞電霧靈靜頁頂項順須預領頻題額顏願類顯風飛飯飲飾餅餐館饋馬駐駕駛騎騙驗骨鬆鬧魚鮮鳥鳴麥麵黃點齊齡齒龍龜啟帳註冊臺灣檯颱髮鬍誌週劃衝製複迴遊嗎妳";
const SIMPLIFIED: &str = "万与专业东丝两严丧个丰临为丽举么义乌乐乔习乡书买乱争于亏云亚产亩亲亵亿仅从仓仪们价众优会伞伟传伤伦伪伫体佣俭债倾偿储儿党兰关兴养兽内冈册写军农冯冲决况冻净准凉减凑几凤凭凯击凿划刘则刚创删别剂剑剧劝办务动励劲劳势胜匀区医华协单卖卢卫却厂厅历厉压厌厕厢县参双发变叙叠叶号叹听启吴员吗哗响呗吨念问唤尝啰喷团园围国图圆圣场坏块坚坛坝坟坠垄垫堕墙壮声壳壶处备够头夹夺奋奖奥妆妇妈妩孙学宁实宠审宪宫宽宾寝对寻导寿将尔尘尝尸尽层届属岁岂岗岛岭岳帅师帐帘帜带帧帮币干库应庙废广开异弃张弥弯弹强归当录彻径后怀态怂怜总恒恳恶恼悦悬悯惊惧惨惭惯忧虑懒战戏户扑托执扩扫扬扰抚抛抠抢护报担拟拢拣拥拦拧拨择挂挤挥损换据撑摆摇携摊挠摄敌敛数斋斗斩断无旧时旷历晋晒晓晕暂术机杀杂权条来杨荣标栈栋树样档桥枪横柜检楼欧欢残毁气汉汤沟没沪泪洁洒测济浏浓涛涡润涨滞渗渔湿温游湾满滤滥滩灾为炉炼烂烟烦烧热爱爷牍牵牺状犹狱狭独狮奖猫献环现玛琼电画畅疗疯症皱盏盐监盖盘众着困础砚码砖确碍礼祸禅离种积称稳穷窃竞笔筑签简节范篮笼类粮紧纠纪约红纹纳纯纸级纷细组终经结给绝络统丝绑绿维网缓编缘线练缩总绩织绕绘续纤罚罢罗职联聪肃肠肤肿脑胶脸脏旧舱艺苏苹节庄获营叶蓝药虫虽虾补装衬复制见规视览觉观触计订讨讯训记许设访证评识诉询试诗话该详诚误语说请诸诺读课谁调谈谋谢谎识译议护让猪负财责货质贩贪贫购贵贷费贴贺资贼宾赏赔贤赐卖质账赖赚赠赞赢赶赵跃车轨软转轻载辅辆输轮边达迁过运还这进远违连迟适选遗邮郑酱释里厘针钉钓钞钮铃铅银铜铝铭销锁铺锅错钱键链镜钟铁钻长门闪闭间闲闻阅板阳阴阵阶际陆陈险随隐难鸡电雾灵静页顶项顺须预领频题额颜愿类显风飞饭饮饰饼餐馆馈马驻驾驶骑骗验骨松闹鱼鲜鸟鸣麦面黄点齐龄齿龙龟启帐注册台湾台台发胡志周划冲制复回游吗你";

/// A constant computed once, not state: nothing ever changes it.
static PAIRS: LazyLock<Vec<(char, char)>> = LazyLock::new(|| {
    let mut pairs: Vec<_> = TRADITIONAL.chars().zip(SIMPLIFIED.chars()).filter(|(from, to)| from != to).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
});

/// The simplified form of a character, or the character itself.
pub(super) fn simplified(c: char) -> char {
    if !super::is_han(c) {
        return c;
    }
    PAIRS.binary_search_by_key(&c, |(from, _)| *from).map_or(c, |at| PAIRS[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_rows_stand_in_step() {
        assert_eq!(TRADITIONAL.chars().count(), SIMPLIFIED.chars().count());
        for pair in PAIRS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{:?} has two simplified forms", pair);
        }
        for (from, to) in PAIRS.iter() {
            assert_eq!(simplified(*to), *to, "{from} becomes {to}, which is itself traditional");
        }
    }

    #[test]
    fn shop_words() {
        let simple: String = "請問退貨運費誰承擔，訂單還沒發貨，能開發票嗎".chars().map(simplified).collect();
        assert_eq!(simple, "请问退货运费谁承担，订单还没发货，能开发票吗");
    }
}
